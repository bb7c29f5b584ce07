"""walsync: one Postgres replication slot into many databases, exactly once.

The folders are the steps of the data's path, in this order:

1. `source`       a slot's WAL frames come out, the confirmed LSN goes in
2. `pgoutput`     bytes -> messages
3. `transaction`  messages -> whole, committed transactions
4. `backlog`      what was read and is not yet durable everywhere, with a cursor per target
5. `target`       batches -> rows and a checkpoint in another database, in one transaction
6. `checkpoint`   what every target has acknowledged -> the LSN the slot may forget

`snapshot` makes the first copy. `pipeline` joins the steps: read it first.
"""

__version__ = "0.1.0"
