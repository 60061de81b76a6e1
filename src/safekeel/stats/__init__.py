"""Statistics of rates and paired comparisons. Pure functions of counts: no files, no records."""
