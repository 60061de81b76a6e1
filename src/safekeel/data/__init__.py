"""Public data (`registry`, `fetch`), and the banks and templates that ship with SafeKeel."""
