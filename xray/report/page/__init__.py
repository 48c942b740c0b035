"""The report as people read it: tables, figures and words on one page."""
