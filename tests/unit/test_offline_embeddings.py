"""The embedding model for deployments without keys."""

import resource

from graphs.offline.embeddings import OfflineEmbeddings


def test_each_text_has_the_vector_it_has_alone_whatever_stands_beside_it(
    embeddings: OfflineEmbeddings,
) -> None:
    texts = [
        "short",
        "a much longer text about robots " * 500,
        "",
        "another short one",
        "x" * 50_000,
    ]
    together = embeddings.embed_documents(texts)
    for text, vector in zip(texts, together, strict=True):
        alone = embeddings.embed_query(text)
        assert max(abs(a - b) for a, b in zip(alone, vector, strict=True)) < 1e-5


def test_a_long_text_among_many_short_ones_takes_little_memory(
    embeddings: OfflineEmbeddings,
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    embeddings.embed_documents(["word " * 30_000, *("a short sentence" for _ in range(63))])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024, "KiB; padded to the longest text, it would be gigabytes"
