"""What a process that sees plaintext or keys must have in its environment when it starts."""

from __future__ import annotations

from typing import Final

ENVIRONMENT: Final = {
    # glibc overwrites what is freed, but not what its per-thread cache takes (tcache_put comes before free_perturb in
    # malloc.c): up to seven chunks of each size up to 1 kB a thread, where keys are. So there is no such cache.
    "GLIBC_TUNABLES": "glibc.malloc.perturb=165:glibc.malloc.tcache_count=0",
    # The HTTP server's own allocator is jemalloc: its read buffers held requests, with users' names and their photos.
    "_RJEM_MALLOC_CONF": "junk:free",
    # Python's own pools would keep what they freed: they are not used.
    "PYTHONMALLOC": "malloc",
    # OpenSSL's AES-GCM for AVX-512 leaves blocks of what it sealed, or opened for TLS, in stack frames that have ended;
    # the one for AVX2 leaves none. Masked: AVX512F and AVX512DQ (CPUID leaf 7, EBX bits 16 and 17).
    "OPENSSL_ia32cap": ":~0x30000",
}
"""Freed memory keeps plaintext unless it is overwritten."""
