-- differs: message-bytes
-- record
SELECT pg_logical_emit_message(true, 'p', '\x61ff62'::bytea);
