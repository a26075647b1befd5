"""Where results go: one file is one sink, with ``SCHEMES`` and ``open(uri, options) -> Sink``.

``SCHEMES`` are the words before the colon of a URI that belong to the sink. ``open`` gets the URI without its query,
and the query's options by name; it refuses what cannot work before the first result is there. Every sink takes the
option ``top``: how many labels to pass on.

A sink of pictures has an attribute ``wants`` as well, see `edgecnn.prediction.Sink`: what no sink wants is not
computed, and the picture is not kept.
"""
