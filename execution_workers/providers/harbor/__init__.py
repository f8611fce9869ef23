"""Harbor as issuer of registry credentials: robot accounts of one secret take turns."""
