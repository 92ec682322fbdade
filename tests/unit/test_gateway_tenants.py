import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway import tenants
from services.gateway.tenants import KeyDigest, TenantTable, UnknownTenant, new_key


def table_of(*found):
    table = TenantTable()
    for tenant in found:
        table.apply(tenant.id.encode(), tenant.encode())
    return table


def test_a_key_is_256_random_bits_and_never_kept():
    tenant, key = tenants.add(("genzo",))
    assert key.startswith("mf_")
    assert len(key) == 3 + 43
    assert key.encode() not in tenant.encode()
    assert new_key() != new_key()


def test_a_tenant_is_found_by_its_key_alone():
    (one, key), (two, other) = tenants.add(("genzo",)), tenants.add(("batchpix",))
    table = table_of(one, two)
    assert table.find(key, 0.0) == one
    assert table.find(other, 0.0) == two
    assert table.find(new_key(), 0.0) is None
    assert table.find("", 0.0) is None


@given(now=st.floats(1, 2e9), grace=st.floats(0, 1e6))
def test_an_old_key_lives_for_its_grace_and_no_longer(now, grace):
    first, old = tenants.add(("genzo",))
    rotated, new = tenants.rotate(first, now, grace)
    table = table_of(first, rotated)
    assert table.find(old, math.nextafter(now + grace, 0.0)) == rotated
    assert table.find(old, now + grace) is None
    assert table.find(new, now + grace) == rotated


def test_rotating_twice_prolongs_no_grace_and_forgets_what_ended():
    first, _ = tenants.add(("genzo",))
    second, _ = tenants.rotate(first, 0.0, 100.0)
    third, _ = tenants.rotate(second, 50.0, 100.0)
    assert [key.until for key in third.keys] == [100.0, 150.0, math.inf]
    fourth, _ = tenants.rotate(third, 120.0, 100.0)
    assert [key.until for key in fourth.keys] == [150.0, 220.0, math.inf]


def test_a_tombstone_revokes():
    tenant, key = tenants.add(("genzo",))
    table = table_of(tenant)
    table.apply(tenant.id.encode(), None)
    assert table.find(key, 0.0) is None
    assert list(table) == []
    with pytest.raises(UnknownTenant):
        table.get(tenant.id)


def test_what_cannot_be_decoded_is_left_out():
    tenant, key = tenants.add(("genzo",))
    table = table_of(tenant)
    for value in (b"", b"\x02x", b"\x01\xff", b"\x01\x80"):
        table.apply(b"ten_x", value)
    assert [one.id for one in table] == [tenant.id]
    assert table.find(key, 0.0) == tenant


def test_bytes_written_by_the_first_version_decode_for_ever():
    value = bytes.fromhex(
        "0184a474797065a674656e616e74a26964a574656e5f31a46170707391a567656e7a6fa46b6579739182a6646967657374c420"
        + "11" * 32
        + "a5756e74696ccb7ff0000000000000"
    )
    table = TenantTable()
    table.apply(b"ten_1", value)
    assert table.get("ten_1").keys == (KeyDigest(b"\x11" * 32),)
