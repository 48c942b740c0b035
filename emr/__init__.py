"""Running the experiment on Amazon EMR."""
