"""Client of S3-compatible buckets. Only this module creates one."""

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
    """A bucket. Its client is created on first use."""

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def client(self) -> Any:
        """Create the client. boto3 finds credentials, region and endpoint by itself.

        Raises:
            ConfigurationError: boto3 is not installed, or no region or credentials are configured.
        """
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise ConfigurationError(
                "Buckets need boto3: install it with `pip install 'graph-native-memory[s3]'`."
            ) from error
        # Not every S3-compatible store knows boto3's default checksums, and a backup has its own.
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
        """Call an operation of the client on one object.

        Args:
            operation: a method of boto3's S3 client, such as `get_object`.
            key: the object's key.
            given: further parameters of the operation.
        """
        client = self.client
        with self.told(key):
            return getattr(client, operation)(Bucket=self.name, Key=key, **given)

    def pages(self, operation: str, **given: Any) -> list[dict[str, Any]]:
        """Return all pages of a listing."""
        client = self.client
        with self.told(given["Prefix"]):
            return [*client.get_paginator(operation).paginate(Bucket=self.name, **given)]

    @contextmanager
    def told(self, key: str) -> Iterator[None]:
        """Turn the client's errors into ours.

        Raises:
            ConfigurationError: credentials or the region are missing.
            InvalidInput: the bucket refuses, with a 4xx status.
            StoreUnavailable: the bucket cannot be reached, or answers with a 5xx status.
        """
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
                f"{what} cannot be used: {error}. Set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and "
                "AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL if the bucket is not at Amazon."
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
