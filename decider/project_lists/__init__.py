"""The project list of a repository: the union of its indexes' lists under ownership, on disk, never in a worker's memory.

keeping   when a list must be made anew, and where it is
union     making it, in a child process

It informs people and mirrors, and never decides whether a project exists. Judging files may not be added here.
"""

from decider.project_lists.keeping import RepositoryLists

__all__ = ["RepositoryLists"]
