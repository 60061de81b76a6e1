"""Risk taxonomies as data: areas, categories, and the subsets a standard asks about."""

from safekeel.taxonomy.taxonomy import Area, Category, Taxonomy, load_taxonomy

__all__ = ["Area", "Category", "Taxonomy", "load_taxonomy"]
