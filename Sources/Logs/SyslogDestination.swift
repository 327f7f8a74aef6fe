import Dispatch
import Glibc
import Synchronization

/// A syslog server over UDP: RFC 5424, facility daemon.
public final class SyslogDestination: LogDestination {
  /// Bytes of one datagram: what every receiver should take (RFC 5426 section 3.2). Longer messages are cut.
  public static let datagramByteCountMax = 2048

  public let name = "syslog"
  private let program: String
  private let hostName: String
  /// Nil until the server could be reached for the first time.
  private let socket = Mutex<DatagramSocket?>(nil)
  private let drops = DropCounter()

  private static let retries = DispatchQueue(label: "syslog")
  private static let retrySeconds = 5

  /// `address` is `host:port`, `[v6]:port` or a host alone, for port 514. A name is resolved once, on a thread of its own: no
  /// start waits for a name server.
  ///
  /// No error where there is no way to it yet, as at boot: records are counted as lost until there is, which is tried
  /// every five seconds.
  public init(program: String, address: String) throws(LogError) {
    let (host, port) = try Self.parse(address)
    self.program = program
    hostName = Self.thisHostName()
    if Self.isNumeric(host) { open(host, port) } else { Self.retries.async { [weak self] in self?.open(host, port) } }
  }

  private static func isNumeric(_ host: String) -> Bool {
    var (four, six) = (in_addr(), in6_addr())
    return inet_pton(AF_INET, host, &four) == 1 || inet_pton(AF_INET6, host, &six) == 1
  }

  private func open(_ host: String, _ port: UInt16) {
    do throws(LogError) {
      let opened = try DatagramSocket(udpHost: host, port: port)
      socket.withLock { $0 = opened }
    } catch {
      Self.retries.asyncAfter(deadline: .now() + .seconds(Self.retrySeconds)) { [weak self] in self?.open(host, port) }
    }
  }

  public var droppedCount: UInt64 { drops.value }

  public func write(_ record: LogRecord) {
    guard let socket = socket.withLock({ $0 }) else { return drops.increment() }
    let bytes = Self.datagram(record, program: program, hostName: hostName, process: getpid())
    // A refusal reports the datagram before: that one is lost, this one may still get through.
    let first = socket.send(bytes)
    if first == ECONNREFUSED {
      drops.increment()
      if socket.send(bytes) != 0 { drops.increment() }
    } else if first != 0 {
      drops.increment()
    }
  }

  static func parse(_ address: String) throws(LogError) -> (host: String, port: UInt16) {
    let fault = LogError("\"\(address)\" is no syslog server: write host:port, for example 192.0.2.1:514 or [::1]:514")
    var host = address
    var port = "514"
    if address.hasPrefix("[") {
      let parts = address.dropFirst().split(separator: "]", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, parts[1].isEmpty || parts[1].hasPrefix(":") else { throw fault }
      host = String(parts[0])
      if !parts[1].isEmpty { port = String(parts[1].dropFirst()) }
    } else {
      let parts = address.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2 else { throw fault }
      host = String(parts[0])
      if parts.count == 2 { port = String(parts[1]) }
    }
    guard let number = UInt16(port), number > 0, !host.isEmpty, host.utf8.count < 256,
      host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
    else { throw fault }
    return (host, number)
  }

  private static func thisHostName() -> String {
    var name = utsname()
    guard uname(&name) == 0 else { return "-" }
    let text = withUnsafeBytes(of: &name.nodename) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    return headerText(text, limit: 255)
  }

  static func datagram(_ record: LogRecord, program: String, hostName: String, process: Int32) -> [UInt8] {
    let priority = 3 * 8 + record.level.severity  // facility 3: system daemons
    let head = "<\(priority)>1 \(record.time.text()) \(hostName) \(headerText(program, limit: 48)) \(process) - "
    // 32473 is the enterprise number for examples (RFC 5612); Sluice has none of its own.
    var data = "[sluice@32473 logger=\"\(parameter(record.label))\""
    var message = SafeText.escaped(record.message)
    if !message.utf8.allSatisfy({ $0 < 0x80 }) { message = "\u{feff}" + message }
    let room = datagramByteCountMax - head.utf8.count - 2
    for field in record.fields {
      let text = " \(headerText(field.key, limit: 32))=\"\(parameter(field.value))\""
      // The message comes first where both don't fit: half of the room is its own.
      if data.utf8.count + text.utf8.count <= room - min(message.utf8.count, room / 2) { data += text }
    }
    let bytes = Array((head + data + "] ").utf8)
    return bytes + LogRecord.cut(message, datagramByteCountMax - bytes.count - 3).utf8
  }

  /// Printable ASCII without what ends a name; `-` for nothing.
  static func headerText(_ text: String, limit: Int) -> String {
    let bytes = text.utf8.prefix(limit).map { byte in
      byte > 0x20 && byte < 0x7f && byte != 0x3d && byte != 0x5d && byte != 0x22 ? byte : UInt8(ascii: "_")
    }
    return bytes.isEmpty ? "-" : String(decoding: bytes, as: UTF8.self)
  }

  /// The value of a parameter: `"`, `\` and `]` are escaped by a backslash, control characters shown as text.
  private static func parameter(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\", "]": result += "\\\(scalar)"
      case _ where SafeText.isHostile(scalar): result += "\\\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
