"""`safekeel attack`: a model under attack families and searches, from goals to a page."""
