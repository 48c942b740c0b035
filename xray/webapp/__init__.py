"""A web page that shows what a saved model sees in an X-ray, and its JSON API."""
