"""Names of groups and projects, and the path that follows from each: as REST, pages, and their script suggest it."""

from __future__ import annotations

PATHS = {
    "Métro tools": "metro-tools",
    "My first project!": "my-first-project",
    "Tools - old": "tools-old",
    "a--b": "a-b",
    "Snake_case v1.0": "snake_case-v1.0",
    "..hidden-": "hidden",
    "Ａｂｃ ﬁle": "abc-file",
    "İzmir": "izmir",
    "Łódź": "odz",
    "हिन्दी tools": "tools",
}
