import Glibc
import Synchronization

/// Lines on a descriptor, usually standard error: for people, or one JSON object each.
public final class ConsoleDestination: LogDestination {
  public enum Format: String, Sendable, CaseIterable {
    case human, json
  }

  public let name = "console"
  private let format: Format
  /// Borrowed: the caller keeps it open.
  private let descriptor: CInt
  private let turn = Mutex(Turn())
  private let drops = DropCounter()

  private struct Turn {
    /// The reader took nothing for ``patienceMilliseconds``: nobody waits for it any more, until it goes on.
    var isStuck = false
    /// It has a part of a line.
    var isLineOpen = false
  }

  /// So long a record waits for a reader of a pipe, or a stopped terminal, to go on.
  private static let patienceMilliseconds: CInt = 50
  /// What a pipe that can be written takes whole (PIPE_BUF, pipe(7)).
  private static let chunkByteCount = 4096

  /// `descriptor` is borrowed and must stay open; by default it is standard error.
  public init(format: Format, descriptor: CInt = 2) {
    self.format = format
    self.descriptor = descriptor
  }

  public var droppedCount: UInt64 { drops.value }

  public func write(_ record: LogRecord) {
    let line = Self.line(record, format) + "\n"
    // One at a time, so that lines longer than a pipe takes at once stay whole.
    let isWritten = turn.withLock { turn in put(Array(((turn.isLineOpen ? "\n" : "") + line).utf8), &turn) }
    if !isWritten { drops.increment() }
  }

  /// Whether all of them were taken.
  private func put(_ bytes: [UInt8], _ turn: inout Turn) -> Bool {
    var offset = 0
    while offset < bytes.count {
      var state = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      let ready = poll(&state, 1, turn.isStuck ? 0 : Self.patienceMilliseconds)
      if ready < 0, errno == EINTR { continue }
      turn.isStuck = ready == 0
      let chunk = Array(bytes[offset...].prefix(Self.chunkByteCount))
      let count = ready > 0 ? chunk.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) } : 0
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        if offset > 0 { turn.isLineOpen = true }
        return false
      }
      offset += count
    }
    turn.isLineOpen = false
    return true
  }

  static func line(_ record: LogRecord, _ format: Format) -> String {
    switch format {
    case .human:
      let head = "\(record.time.text(fractionDigits: 3)) \(record.level.rawValue.uppercased()) "
      let fields = record.fields.map { " \(SafeText.escaped($0.key))=\(humanValue($0.value))" }.joined()
      return head + "\(SafeText.escaped(record.label)): \(SafeText.escaped(record.message))\(fields)"
    case .json:
      let fields = record.fields.map { "\(SafeText.json($0.key)):\(SafeText.json($0.value))" }.joined(separator: ",")
      return "{\"time\":\"\(record.time.text())\",\"level\":\"\(record.level.rawValue)\","
        + "\"logger\":\(SafeText.json(record.label)),\"message\":\(SafeText.json(record.message)),"
        + "\"metadata\":{\(fields)}}"
    }
  }

  /// Quoted where a reader couldn't tell its end.
  private static func humanValue(_ text: String) -> String {
    let special: [UInt8] = [0x22, 0x3d, 0x5c]
    let isPlain = !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && !special.contains($0) }
    guard !isPlain else { return text }
    // The quote is escaped after the backslashes were.
    let parts = SafeText.escaped(text).split(separator: "\"", omittingEmptySubsequences: false)
    return "\"" + parts.joined(separator: "\\\"") + "\""
  }
}
