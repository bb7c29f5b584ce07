"""Postgres' literal forms as the server prints them: read into Python structures, and written back to the same text.

    array     ``{1,NULL,"a b"}``, ``[2:3][0:1]={{1,2},{3,4}}``
    record    composites ``(1,"a b",)``, ranges ``[1,2)``, multiranges ``{[1,2),[5,6)}``
    hstore    ``"a"=>"1", "b"=>NULL``
    floating  ``1e+22``, ``-0``, ``NaN``: where the server puts point and exponent
    moment    timestamps and intervals, under datestyle ISO, timezone UTC and intervalstyle postgres
    jsontext  json and jsonb, without losing a digit

Pure. A text that the server does not print parses or raises ValueError. It does not know what a value is stored as.
"""
