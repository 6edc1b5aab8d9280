-- Nobody who sends sorts what is new into the search index: sort_search_index does, every few seconds. With Postgres' usual
-- list of 4 MB one message of about 12,000 sorted it, which took 60 ms, ten times that on a busy machine, and what came behind it
-- waited as long. 64 MB are more than is sent between two times.
ALTER INDEX chat.messages_search SET (gin_pending_list_limit = 65536);
