"""What the error codes of object stores mean: a code says more than the class that a client raises."""

from __future__ import annotations

import re
from collections.abc import Iterable

TRANSIENT_CODES = frozenset(
    {
        *("RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException"),
        *("TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "InternalError"),
        *("ServiceUnavailable", "ServerBusy", "OperationTimedOut"),
    }
)
"""Codes after which the same request may succeed in a moment, whatever the status (S3, Azure)."""

_EXPIRED = "the credentials have expired; renew them"
_UNKNOWN = "the server does not know these credentials"
_PAYS = 'its bucket makes the requester pay; agree with the storage options {"requester_pays": true}'
_REGION = 'the bucket is in another region; name it: {"client_kwargs": {"region_name": …}}'
_ROLE = "these credentials give no access to it"
_LOGIN = "log in with 'hf auth login', or set HF_TOKEN"

DENIALS = {
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "RequestExpired": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "UnauthorizedSSOTokenError": "the login has expired; sign in again: aws sso login",
    "SSOTokenLoadError": "there is no login; sign in: aws sso login",
    "TokenRetrievalError": "the login has expired; sign in again: aws sso login",
    "RefreshError": "the login has expired; sign in again: gcloud auth application-default login",
    "InvalidToken": "the session token is not valid; set AWS_SESSION_TOKEN with the key that it belongs to",
    "InvalidAccessKeyId": _UNKNOWN,
    "InvalidClientTokenId": _UNKNOWN,
    "SignatureDoesNotMatch": "the secret key is not that of the access key",
    "RequestTimeTooSkewed": "the clock of this machine is wrong",
    "InvalidPayer": _PAYS,
    "UserProjectMissing": _PAYS,
    "InvalidObjectState": "it is archived, and must be restored before it can be read",
    "AccountProblem": "there is a problem with the account",
    "AuthenticationFailed": "the key or signature is not accepted, or has expired",
    "NoAuthenticationInformation": "it needs credentials",
    "PublicAccessNotPermitted": "it is not public; pass credentials in the storage options",
    "AuthorizationFailure": _ROLE,
    "AuthorizationPermissionMismatch": _ROLE,
    "RepoNotFound": f"there is no such repository, or it is private: {_LOGIN}",
    "GatedRepo": f"it is gated: accept its terms on its page, and {_LOGIN}",
}
"""Why access is denied, by code; the login services of AWS and Google have classes instead of codes."""

REFUSALS = {
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": "the server cannot do this",
    "InvalidBucketName": "no bucket can have this name",
    "QuotaExceeded": "the storage is full",
    "EntityTooLarge": "it is larger than the server takes",
}
"""Why something else is refused, by code."""


def error_code(errors: Iterable[BaseException]) -> str | None:
    """The code that an error, or what caused it, reports: botocore's, Azure's, the hub's, Google's."""
    for error in errors:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            found = response.get("Error", {}).get("Code")
        else:
            headers = getattr(response, "headers", None) or {}
            found = getattr(error, "error_code", None) or headers.get("X-Error-Code")
        if "requester pays" in str(error).lower():  # gcsfs tells a code of Google's by its text only
            found = "UserProjectMissing"
        if type(error).__name__ in DENIALS:
            found = type(error).__name__
        if isinstance(found, str) and re.fullmatch(r"[A-Za-z]{3,60}", found):
            return found
    return None
