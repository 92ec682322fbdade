import pytest

from stream.vault.presign import Signer

# AWS's own published example ("Authenticating Requests: Using Query Parameters", 24 May 2013, both keys are theirs).
SIGNER = Signer(
    "https://examplebucket.s3.amazonaws.com/", "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)
NOW = 1369353600.9


def test_the_published_example():
    url = SIGNER.url("GET", "/test.txt", expires_s=86400, now=NOW)
    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_fields_are_signed_in_order_and_paths_encoded_once():
    url = SIGNER.url("GET", "/a b/ü", expires_s=1, now=NOW, query={"versions": "", "prefix": "a/b"})
    path, query = url.removeprefix(SIGNER.endpoint).split("?")
    assert path == "/a%20b/%C3%BC"
    names = [field.split("=")[0] for field in query.split("&")]
    assert names[:-1] == sorted(names[:-1])
    assert "prefix=a%2Fb" in query
    assert "versions=&" in query


def test_a_lifetime_that_no_signature_has_is_refused():
    for expires_s in (-1, 0, 7 * 24 * 3600 + 1):
        with pytest.raises(ValueError, match="sign for the lease's length"):
            SIGNER.url("PUT", "/x", expires_s=expires_s, now=NOW)


def test_the_secret_hides():
    assert repr(SIGNER) == "<Signer https://examplebucket.s3.amazonaws.com>"
