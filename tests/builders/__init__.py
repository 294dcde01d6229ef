"""Builders of migration streams from nothing but ``struct`` and the format's facts.

They never import qmig: what they write is the independent word against which qmig's
schemas, readers and writers are held. Every field can be overridden, so that broken
streams are as easy to make as good ones.

=================  ====================================================================
``primitives``     big-endian integers and counted strings
``framing``        file header, configuration, sections, footers
``commands``       the commands between sections, postcopy's package
``vmdesc``         the JSON description of device state, in both text styles
``ram``            block list and page records
``xbzrle``         the delta encoding of one page
``mapped_ram``     block headers, bitmaps and pages at fixed file offsets
``multifd``        init packets and every generation of packet header
``payloads``       what stands behind a packet header, per compression method
``handlers``       live handlers other than RAM, and opaque device state
``libvirt``        the save-image header
``guest``          a guest whose pages tell who they are
``machine``        whole main streams, with ids, footers and description in step
``migration``      what a multifd migration is made of
``sender``         the sending side of a multifd migration
``generations``    whole multifd migrations as each QEMU generation writes them
``walk_*``         the counterpart: readers that know the layouts above and no more
=================  ====================================================================
"""
