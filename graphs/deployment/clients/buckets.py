"""The one place where the project makes a client of an S3-compatible bucket."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from graphs.memory.errors import (
    ConfigurationError,
    InvalidInput,
    StoreUnavailable,
)

SCHEME = "s3://"


class S3Bucket:
    """A bucket, with the client that is made when it is first needed."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def client(self) -> Any:
        """Make the client; boto3 finds credentials, region and endpoint by itself."""
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise ConfigurationError(
                "Buckets need their client: install it with `pip install 'graph-native-memory[s3]'`."
            ) from error
        # Checksums that not every store knows are left to those that ask for them: a backup has its own.
        needed = "when_required"
        config = Config(
            request_checksum_calculation=needed,
            response_checksum_validation=needed,
            retries={"mode": "standard", "total_max_attempts": 5},
            connect_timeout=10,
        )
        with self.told(""):
            return boto3.session.Session().client("s3", config=config)

    def call(self, operation: str, key: str, **given: Any) -> Any:
        """Do something with an object."""
        client = self.client
        with self.told(key):
            return getattr(client, operation)(S3Bucket=self.name, Key=key, **given)

    def pages(self, operation: str, **given: Any) -> list[dict[str, Any]]:
        """Return all pages of a list."""
        client = self.client
        with self.told(given["Prefix"]):
            return [*client.get_paginator(operation).paginate(S3Bucket=self.name, **given)]

    @contextmanager
    def told(self, key: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        from botocore import exceptions

        what = f"{SCHEME}{self.name}/{key}"
        try:
            yield
        except (
            exceptions.NoCredentialsError,
            exceptions.PartialCredentialsError,
            exceptions.NoRegionError,
        ) as error:
            raise ConfigurationError(
                f"{what} cannot be used: {error}. Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION, "
                "and AWS_ENDPOINT_URL where it is not Amazon's."
            ) from error
        except exceptions.ClientError as error:
            answer = error.response.get("Error", {})
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
                raise StoreUnavailable(f"{what} is not available: {answer.get('Code')}.") from error
            reason = answer.get("Message") or answer.get("Code")
            raise InvalidInput(
                f"{what} cannot be used: {reason} ({answer.get('Code')})."
            ) from error
        except exceptions.BotoCoreError as error:
            raise StoreUnavailable(f"{what} cannot be reached: {error}") from error
