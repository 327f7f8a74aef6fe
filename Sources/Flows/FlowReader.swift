public import Packets

/// What a frame counts to.
@frozen public struct FlowPacket: BitwiseCopyable, Hashable, Sendable {
  public var key: FlowKey
  /// Layer 3: IP headers and what follows, without padding.
  public var byteCount: UInt32
  /// 0 unless the frame shows a TCP header.
  public var tcpFlags: UInt8

  @inlinable init(key: FlowKey, byteCount: UInt32, tcpFlags: UInt8) {
    self.key = key
    self.byteCount = byteCount
    self.tcpFlags = tcpFlags
  }
}

/// What a frame is to flow accounting.
@frozen public enum FlowReading: BitwiseCopyable, Hashable, Sendable {
  case flow(FlowPacket)
  /// Not IP.
  case other
  /// Rules don't see it either; see ``/Packets/PacketParser``.
  case malformed
}

/// Frame → flow, for the packet thread: no allocation, no throw, one pass.
///
/// Says *malformed* and *not IP* exactly where ``/Packets/PacketParser`` does, whose documentation lists the checks;
/// the tests compare the two. The parser itself collects tags in an array, which costs an allocation.
public enum FlowReader {
  /// - Parameters:
  ///   - frame: Ethernet without its frame check sequence; of a packet in several buffers the first.
  ///   - packetByteCount: Of the whole packet. A header that begins behind the first buffer is `malformed` here.
  ///   - ingressPort: Below ``FlowKey/ingressPortCount``.
  @inlinable @inline(__always)
  public static func read(_ frame: borrowing MutableRawSpan, packetByteCount: Int, ingressPort: UInt16) -> FlowReading {
    guard frame.byteCount >= 14 else { return .malformed }
    var etherType = frame.uint16(at: 12)
    var offset = 14
    var rest = FlowKey.usedBit | UInt64(ingressPort) << 55  // what does not fit falls out at the top
    if isTag(etherType) {
      guard frame.byteCount >= 18 else { return .malformed }
      rest |= FlowKey.taggedBit | UInt64(frame.uint16(at: 14) & 0xfff) << 40
      etherType = frame.uint16(at: 16)
      offset = 18
      if isTag(etherType) {
        guard frame.byteCount >= 22 else { return .malformed }
        etherType = frame.uint16(at: 20)
        offset = 22
      }
    }
    if etherType == 0x0800 { return readIPv4(frame, at: offset, packetByteCount: packetByteCount, rest: rest) }
    if etherType == 0x86dd { return readIPv6(frame, at: offset, packetByteCount: packetByteCount, rest: rest) }
    return .other
  }

  @inlinable @inline(__always)
  static func isTag(_ etherType: UInt16) -> Bool { etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100 }

  @inlinable @inline(__always)
  static func readIPv4(
    _ frame: borrowing MutableRawSpan, at offset: Int, packetByteCount: Int, rest: UInt64
  ) -> FlowReading {
    guard frame.byteCount &- offset >= 20 else { return .malformed }
    let first = frame.byte(at: offset)
    let headerByteCount = Int(first & 0xf) &* 4
    let total = Int(frame.uint16(at: offset &+ 2))
    guard first >> 4 == 4, headerByteCount >= 20, total >= headerByteCount, total <= packetByteCount &- offset else {
      return .malformed
    }
    let fragment = frame.uint16(at: offset &+ 6)
    let number = frame.byte(at: offset &+ 9)
    let addresses = frame.uint64(at: offset &+ 12)
    var packet = FlowPacket(
      key: FlowKey(first: addresses, second: 0, third: 0, fourth: 0, rest: rest | UInt64(number) << 32),
      byteCount: UInt32(truncatingIfNeeded: total), tcpFlags: 0)
    if fragment & 0x1fff != 0 { return .flow(packet) }
    let isRead = readTransport(
      frame, at: offset &+ headerByteCount, byteCount: total &- headerByteCount, number: number,
      isFirstFragment: fragment & 0x2000 != 0, isJumbogram: false, into: &packet)
    return isRead ? .flow(packet) : .malformed
  }

  @inlinable
  static func readIPv6(
    _ frame: borrowing MutableRawSpan, at start: Int, packetByteCount: Int, rest: UInt64
  ) -> FlowReading {
    guard frame.byteCount &- start >= 40, frame.byte(at: start) >> 4 == 6 else { return .malformed }
    let payload = Int(frame.uint16(at: start &+ 4))
    var next = frame.byte(at: start &+ 6)
    let present = packetByteCount &- start &- 40
    let isJumbogram = payload == 0 && next == 0
    guard payload <= present else { return .malformed }
    var offset = start &+ 40
    let end = offset &+ (isJumbogram ? present : payload)
    var packet = FlowPacket(
      key: FlowKey(
        first: frame.uint64(at: start &+ 8), second: frame.uint64(at: start &+ 16),
        third: frame.uint64(at: start &+ 24), fourth: frame.uint64(at: start &+ 32),
        rest: rest | FlowKey.ipv6Bit),
      byteCount: UInt32(truncatingIfNeeded: end &- start), tcpFlags: 0)
    var isFirstFragment = false
    var walked = 0
    while isExtension(next) {
      guard walked < extensionsMax, end &- offset >= 8, frame.byteCount &- offset >= 8 else {
        return .malformed
      }
      let current = next
      next = frame.byte(at: offset)
      var length = (Int(frame.byte(at: offset &+ 1)) &+ 1) &* 8
      if current == 44 {
        let fragment = frame.uint16(at: offset &+ 2)
        if fragment >> 3 != 0 {
          packet.key = packet.key.with(protocolNumber: next)
          return .flow(packet)
        }
        if fragment & 1 != 0 { isFirstFragment = true }
        length = 8
      } else if current == 51 {
        length = (Int(frame.byte(at: offset &+ 1)) &+ 2) &* 4
      }
      guard length <= end &- offset else { return .malformed }
      offset &+= length
      walked &+= 1
    }
    packet.key = packet.key.with(protocolNumber: next)
    let isRead = readTransport(
      frame, at: offset, byteCount: end &- offset, number: next, isFirstFragment: isFirstFragment,
      isJumbogram: isJumbogram, into: &packet)
    return isRead ? .flow(packet) : .malformed
  }

  /// PacketParser's limit; a value of its own because a static constant of another module is a call with a lock.
  @inlinable static var extensionsMax: Int { 8 }

  @inlinable @inline(__always)
  static func isExtension(_ number: UInt8) -> Bool {
    switch number {
    case 0, 43, 44, 51, 60, 135, 139, 140: true
    default: false
    }
  }

  /// - Parameter byteCount: Of the datagram behind `offset`.
  /// - Returns: False where the header is malformed.
  @inlinable @inline(__always)
  static func readTransport(
    _ frame: borrowing MutableRawSpan, at offset: Int, byteCount: Int, number: UInt8, isFirstFragment: Bool,
    isJumbogram: Bool, into packet: inout FlowPacket
  ) -> Bool {
    let readable = min(byteCount, frame.byteCount &- offset)
    switch number {
    case 6:
      guard readable >= 20 else { return false }
      let dataOffset = Int(frame.byte(at: offset &+ 12) >> 4) &* 4
      guard dataOffset >= 20, dataOffset <= byteCount else { return false }
      packet.tcpFlags = frame.byte(at: offset &+ 13)
    case 17:
      guard readable >= 8 else { return false }
      let length = Int(frame.uint16(at: offset &+ 4))
      let isRight = length >= 8 && (length <= byteCount || isFirstFragment)
      guard isRight || length == 0 && isJumbogram else { return false }
    case 1, 58:
      guard readable >= 4 else { return false }
      // ICMP over IPv6 and ICMPv6 over IPv4 are no use of the numbers: no type, no code.
      if packet.key.isIPv6 == (number == 58) {
        packet.key = packet.key.with(ports: UInt32(frame.uint16(at: offset)))
      }
      return true
    default:
      return true
    }
    packet.key = packet.key.with(ports: frame.uint32(at: offset))
    return true
  }
}

extension FlowKey {
  /// The same key with both ports set, source above destination; there were none.
  @inlinable @inline(__always)
  func with(ports: UInt32) -> FlowKey {
    FlowKey(first: first, second: second, third: third, fourth: fourth, rest: rest | UInt64(ports))
  }

  /// The same key with the protocol set; there was none.
  @inlinable @inline(__always)
  func with(protocolNumber: UInt8) -> FlowKey {
    FlowKey(first: first, second: second, third: third, fourth: fourth, rest: rest | UInt64(protocolNumber) << 32)
  }
}
