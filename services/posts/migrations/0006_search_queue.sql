-- The articles from before there was a search. Not in the migration that makes the trigger, which nobody
-- can write articles beside.
INSERT INTO posts.search_queue (article_id) SELECT id FROM posts.articles;
