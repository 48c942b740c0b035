"""Records to one page: comparison, tables, figures. Reads results, never trains."""
