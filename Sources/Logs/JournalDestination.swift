import Glibc
import Synchronization

/// systemd's journal, by its native protocol: fields keep their names and their line breaks.
public final class JournalDestination: LogDestination {
  public static let standardSocketPath = "/run/systemd/journal/socket"

  public let name = "journal"
  private let program: String
  private let socketPath: String
  /// Replaced when the journal was restarted.
  private let socket: Mutex<DatagramSocket>
  private let drops = DropCounter()

  /// `program` becomes SYSLOG_IDENTIFIER.
  public init(program: String, socketPath: String = JournalDestination.standardSocketPath) throws(LogError) {
    self.program = program
    self.socketPath = socketPath
    socket = Mutex(try DatagramSocket(unixPath: socketPath))
  }

  /// Whether standard error already is the journal's stream: systemd says so in JOURNAL_STREAM (systemd.exec(5)).
  public static func isStandardError(_ journalStream: String?, descriptor: CInt = 2) -> Bool {
    var status = stat()
    guard let journalStream, fstat(descriptor, &status) == 0 else { return false }
    return journalStream == "\(status.st_dev):\(status.st_ino)"
  }

  public var droppedCount: UInt64 { drops.value }

  public func write(_ record: LogRecord) {
    let bytes = Self.datagram(record, program: program)
    let isSent = socket.withLock { socket in
      switch socket.send(bytes) {
      case 0: return true
      case ECONNREFUSED, ENOTCONN, ENOENT, EPIPE, ECONNRESET:
        guard let fresh = try? DatagramSocket(unixPath: socketPath) else { return false }
        socket = fresh
        return socket.send(bytes) == 0
      default: return false
      }
    }
    if !isSent { drops.increment() }
  }

  static func datagram(_ record: LogRecord, program: String) -> [UInt8] {
    var bytes: [UInt8] = []
    func add(_ key: String, _ value: String) {
      bytes += key.utf8
      if value.utf8.contains(0x0a) {
        // Field name, line feed, length as 64 bits little-endian, value.
        bytes.append(0x0a)
        let count = UInt64(value.utf8.count)
        bytes += (0..<8).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) }
      } else {
        bytes.append(UInt8(ascii: "="))
      }
      bytes += value.utf8
      bytes.append(0x0a)
    }
    add("PRIORITY", "\(record.level.severity)")
    add("SYSLOG_IDENTIFIER", program)
    add("MESSAGE", record.message)
    add("LOGGER", record.label)
    add("CODE_FILE", record.file)
    add("CODE_LINE", "\(record.line)")
    for field in record.fields { add(fieldName(field.key), field.value) }
    return bytes
  }

  private static let ownFields: Set<String> = [
    "PRIORITY", "SYSLOG_IDENTIFIER", "MESSAGE", "LOGGER", "CODE_FILE", "CODE_LINE",
  ]

  /// Upper case letters, digits and `_`, not beginning with either of the latter, at most 64 bytes; never one of ours.
  static func fieldName(_ key: String) -> String {
    let upper = key.uppercased().utf8.map { byte in
      (0x41...0x5a).contains(byte) || (0x30...0x39).contains(byte) ? byte : UInt8(ascii: "_")
    }
    let name = String(decoding: upper.drop { !(0x41...0x5a).contains($0) }.prefix(60), as: UTF8.self)
    return name.isEmpty || ownFields.contains(name) ? "F_" + name : name
  }
}
