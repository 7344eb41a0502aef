"""The child that makes the list of a repository (`union`)."""

from decider.children import serve_job
from decider.project_lists.union import UnionJob, unite_here

MAX_MEMORY = 512 * 2**20  #: bytes of address space; names come and go one by one

if __name__ == "__main__":
    serve_job(UnionJob, unite_here, max_memory=MAX_MEMORY)
