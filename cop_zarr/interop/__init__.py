"""The store and its answers, as other libraries want them: each module needs the package of its name."""
