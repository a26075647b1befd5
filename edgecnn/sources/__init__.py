"""Where pictures come from: one file is one source, with ``SCHEMES`` and ``open(uri, options) -> Source``.

``SCHEMES`` are the words before the colon of a URI that belong to the source. ``open`` gets the URI without its query,
and the query's options by name; it refuses what cannot work before the first picture is asked for.

A source may say more of itself:

=============  ==================================================================================================
LIVE           True for live sources: one that does not start may be waited for
SKIP           frames to leave out at the beginning, unless the option ``skip`` says otherwise
OPTIONS_AFTER  the sign whose last place the options follow, where an address or a command has a ``?`` of its own
name_of(uri)   what messages call it, where the URI may hold what is secret
found()        the cameras that are there, for ``edgecnn cameras``: ``Iterable[Found]``
=============  ==================================================================================================
"""
