"""What a page's payload is: numpy and codecs over bytes."""
