import Glibc
import LinuxSystem

extension XDPSocket {
  /// Descriptors that can be set now, at most `limit`. No system call.
  @inlinable public mutating func transmitRoom(limit: UInt32) -> UInt32 { transmitRing.room(limit: limit) }

  /// Sets descriptor `index` of the room. Its frame is the caller's, lies in this memory and holds the whole of it: the
  /// kernel returns a descriptor that it refuses through no ring, and only counts it.
  @inlinable public mutating func setTransmit(_ index: UInt32, _ packet: PacketDescriptor) {
    checkBounds(packet)
    transmitRing[index] = packet
  }

  /// Hands the first `count` descriptors of the room, and their frames, to the kernel; ``kick()`` makes it send them.
  @inlinable public mutating func submitTransmit(_ count: UInt32) {
    transmitRing.submit(count)
    submitted &+= count
  }

  /// Frames handed to the kernel for transmission and not reclaimed.
  @inlinable public var inTransmit: UInt32 { submitted }

  /// Submitted descriptors that the kernel has not looked at yet. In copy mode a ``kick()`` sends a limited number.
  @inlinable public var transmitPending: UInt32 { min(transmitRing.occupancy, submitted) }

  /// The kernel sends only when it is told to, by ``kick()``.
  @inlinable public var transmitNeedsWakeup: Bool { !usesNeedWakeup || transmitRing.needsWakeup }

  /// Makes the kernel send what is submitted, in copy mode some of it, at once and in this call: again while
  /// ``transmitPending`` is not 0. A device that has no room now is no error, the next call goes on there.
  public mutating func kick() throws(SystemError) {
    while sendto(descriptor.rawValue, nil, 0, CInt(MSG_DONTWAIT), nil, 0) < 0 {
      let code = errno
      switch code {
      case EINTR: continue
      case EAGAIN, EBUSY, ENOBUFS: return  // often, so no error value is made for them
      default: throw SystemError(operation: "transmit", code: code, subject: "AF_XDP socket")
      }
    }
  }

  /// Returns frames whose packets have left to the pool, up to `limit`. No system call. Returns how many.
  @inlinable
  @discardableResult
  public mutating func reclaim(into pool: inout FramePool, limit: UInt32 = .max) -> UInt32 {
    let count = completionRing.drain(into: &pool, limit: limit)
    submitted &-= count
    return count
  }
}
