//! A client of both planes: typed calls, retries that repeat no effect, pages, problems.
