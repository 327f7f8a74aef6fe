import CLinuxShims
import Glibc

/// A netlink message under construction: header, fixed part, attributes.
struct NetlinkMessage {
  private(set) var bytes: [UInt8]

  /// `fixed` is the family's header (ifinfomsg, genlmsghdr).
  init<Fixed: BitwiseCopyable>(type: UInt16, flags: Int, fixed: Fixed) {
    bytes = []
    bytes.reserveCapacity(256)
    let header = nlmsghdr(
      nlmsg_len: 0, nlmsg_type: type, nlmsg_flags: UInt16(NLM_F_REQUEST | Int32(flags)), nlmsg_seq: 0, nlmsg_pid: 0)
    appendBytes(of: header)
    appendBytes(of: fixed)
  }

  mutating func append<Value: BitwiseCopyable>(attribute: Int, _ value: Value) {
    withUnsafeBytes(of: value) { append(attribute: attribute, bytes: Array($0)) }
  }

  /// A NUL-terminated string.
  mutating func append(attribute: Int, _ text: String) { append(attribute: attribute, bytes: Array(text.utf8) + [0]) }

  private mutating func append(attribute: Int, bytes payload: [UInt8]) {
    appendBytes(of: nlattr(nla_len: UInt16(4 + payload.count), nla_type: UInt16(attribute)))
    bytes += payload
    while bytes.count % 4 != 0 { bytes.append(0) }
  }

  private mutating func appendBytes<Value: BitwiseCopyable>(of value: Value) {
    withUnsafeBytes(of: value) { bytes += $0 }
  }

  func finished(sequence: UInt32) -> [UInt8] {
    var bytes = bytes
    withUnsafeBytes(of: UInt32(bytes.count)) { bytes.replaceSubrange(0..<4, with: $0) }
    withUnsafeBytes(of: sequence) { bytes.replaceSubrange(8..<12, with: $0) }
    return bytes
  }
}

/// One received netlink message, without its header.
struct NetlinkReply {
  let type: UInt16
  let payload: ArraySlice<UInt8>
}

/// The attributes of a message, in order. Ends at the first one that doesn't fit.
struct NetlinkAttributes: Sequence, IteratorProtocol {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  mutating func next() -> (type: Int, bytes: ArraySlice<UInt8>)? {
    guard rest.count >= 4 else { return nil }
    let header: nlattr = rest.loadUnaligned()
    let length = Int(header.nla_len)
    guard length >= 4, length <= rest.count else { return nil }
    let payload = rest.dropFirst(4).prefix(length - 4)
    rest = rest.dropFirst((length + 3) & ~3)
    return (Int(header.nla_type) & 0x3fff, payload)  // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
  }
}

extension ArraySlice<UInt8> {
  /// The value in the first bytes; what the bytes don't reach is zero.
  func loadUnaligned<Value: BitwiseCopyable>(as type: Value.Type = Value.self) -> Value {
    withUnsafeTemporaryAllocation(byteCount: MemoryLayout<Value>.size, alignment: MemoryLayout<Value>.alignment) {
      let space = $0
      space.initializeMemory(as: UInt8.self, repeating: 0)
      withUnsafeBytes { space.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(space.count))) }
      return space.loadUnaligned(as: Value.self)
    }
  }

  /// Text up to the first NUL.
  var netlinkText: String { String(decoding: prefix { $0 != 0 }, as: UTF8.self) }
}

/// A netlink socket in the network namespace of the thread that made it. One thread at a time.
struct NetlinkSocket: ~Copyable {
  let descriptor: OwnedDescriptor

  init(protocol number: CInt, groups: UInt32 = 0) throws(SystemError) {
    let descriptor = try OwnedDescriptor.socket(
      family: AF_NETLINK, type: CInt(SOCK_RAW.rawValue), protocol: number)
    var address = sockaddr_nl()
    address.nl_family = sa_family_t(AF_NETLINK)
    address.nl_groups = groups
    let raw = descriptor.rawValue
    try check("bind", "netlink protocol \(number)") {
      withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(raw, $0, socklen_t(MemoryLayout<sockaddr_nl>.size))
        }
      }
    }
    self.descriptor = descriptor
  }

  /// Sends the request and collects the answer: all parts of a dump, or the one message of a plain request.
  ///
  /// - Parameter isKept: Of a dump that may be long, such as a routing table, what is not thrown away at once.
  borrowing func exchange(
    _ message: NetlinkMessage, operation: StaticString, subject: String, needs: Capability? = nil,
    keeping isKept: (NetlinkReply) -> Bool = { _ in true }
  ) throws(SystemError) -> [NetlinkReply] {
    let sequence: UInt32 = 1
    let raw = descriptor.rawValue
    let request = message.finished(sequence: sequence)
    try check(operation, subject, needs: needs) { request.withUnsafeBytes { send(raw, $0.baseAddress, $0.count, 0) } }
    var replies: [NetlinkReply] = []
    while true {
      for (header, payload) in NetlinkSocket.split(try receive(operation, subject)) where header.nlmsg_seq == sequence {
        switch Int32(header.nlmsg_type) {
        case NLMSG_DONE: return replies
        case NLMSG_ERROR:
          let code = -payload.loadUnaligned(as: Int32.self)
          if code == 0 { return replies }
          let lacksPrivilege = code == EPERM || code == EACCES
          throw SystemError(
            operation: "\(operation)", code: code, subject: subject,
            remedy: lacksPrivilege ? needs.map { "needs \($0.name)" } : nil)
        default:
          let reply = NetlinkReply(type: header.nlmsg_type, payload: payload)
          if isKept(reply) { replies.append(reply) }
          if Int32(header.nlmsg_flags) & NLM_F_MULTI == 0 { return replies }
        }
      }
    }
  }

  /// One datagram, whole. Blocks.
  borrowing func receive(_ operation: StaticString, _ subject: String) throws(SystemError) -> [UInt8] {
    let raw = descriptor.rawValue
    var buffer = [UInt8](repeating: 0, count: 64 << 10)  // a dump's parts are at most 32 KiB
    let count = try check(operation, subject) {
      buffer.withUnsafeMutableBytes { recv(raw, $0.baseAddress, $0.count, 0) }
    }
    buffer.removeLast(buffer.count - count)
    return buffer
  }

  /// The messages of a datagram.
  static func split(_ datagram: [UInt8]) -> [(header: nlmsghdr, payload: ArraySlice<UInt8>)] {
    var messages: [(header: nlmsghdr, payload: ArraySlice<UInt8>)] = []
    var rest = datagram[...]
    let headerByteCount = MemoryLayout<nlmsghdr>.size
    while rest.count >= headerByteCount {
      let header: nlmsghdr = rest.loadUnaligned()
      let length = Int(header.nlmsg_len)
      guard length >= headerByteCount, length <= rest.count else { break }
      messages.append((header, rest.dropFirst(headerByteCount).prefix(length - headerByteCount)))
      rest = rest.dropFirst((length + 3) & ~3)
    }
    return messages
  }
}
