"""The sub-commands of `safekeel`, one file each."""
