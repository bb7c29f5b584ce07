-- publication: FOR TABLE p WITH (publish_via_partition_root)
-- differs: via-root: p_low: p
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p_low PARTITION OF p FOR VALUES FROM (0) TO (100);
-- record
INSERT INTO p VALUES (1, 'a');
UPDATE p SET v = 'b';
DELETE FROM p;
