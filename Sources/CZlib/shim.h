#include <string.h>
#include <zlib.h>

// One gzip member from `count` bytes; returns its length, or 0 where it does not fit into `room` bytes. deflateInit2 is a macro,
// which Swift cannot call.
static inline unsigned long sluice_gzip(
    const unsigned char *bytes, unsigned int count, unsigned char *out, unsigned int room) {
  z_stream stream;
  memset(&stream, 0, sizeof stream);
  // 15 bits of window, and 16 to ask for gzip's header instead of zlib's. Level 1: this runs while somebody waits.
  if (deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) return 0;
  stream.next_in = (unsigned char *)bytes;
  stream.avail_in = count;
  stream.next_out = out;
  stream.avail_out = room;
  int result = deflate(&stream, Z_FINISH);
  unsigned long length = stream.total_out;
  deflateEnd(&stream);
  return result == Z_STREAM_END ? length : 0;
}

// The reverse; 0 where it is no gzip member or needs more than `room` bytes.
static inline unsigned long sluice_gunzip(
    const unsigned char *bytes, unsigned int count, unsigned char *out, unsigned int room) {
  z_stream stream;
  memset(&stream, 0, sizeof stream);
  if (inflateInit2(&stream, 15 + 16) != Z_OK) return 0;
  stream.next_in = (unsigned char *)bytes;
  stream.avail_in = count;
  stream.next_out = out;
  stream.avail_out = room;
  int result = inflate(&stream, Z_FINISH);
  unsigned long length = stream.total_out;
  inflateEnd(&stream);
  return result == Z_STREAM_END ? length : 0;
}
