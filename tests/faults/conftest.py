"""Object stores for all tests of this folder."""

from tests.storage.conftest import gcs, s3  # noqa: F401  # fixtures
