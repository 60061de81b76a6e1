"""Where the rows of a corpus come from: own prompts, clauses, public sets, files of the user, red-team finds."""

from safekeel.corpus.sources.base import Source, SourceBase, SourcesConfig, open_sources, read_sources

__all__ = ["Source", "SourceBase", "SourcesConfig", "open_sources", "read_sources"]
