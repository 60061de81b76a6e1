"""From a run's artefacts to a card, a gate verdict and a page. Reads files only; never calls a model."""
