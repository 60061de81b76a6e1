"""The embedded default: a synthetic bilingual world and the small reasoning model that grows up in it."""
