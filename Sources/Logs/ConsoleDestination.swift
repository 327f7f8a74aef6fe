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
  private let turn = Mutex(())
  private let drops = DropCounter()

  /// `descriptor` is borrowed and must stay open; by default it is standard error.
  public init(format: Format, descriptor: CInt = 2) {
    self.format = format
    self.descriptor = descriptor
  }

  public var droppedCount: UInt64 { drops.value }

  public func write(_ record: LogRecord) {
    let bytes = Array((Self.line(record, format) + "\n").utf8)
    // One at a time, so that lines longer than a pipe takes at once stay whole.
    let isWritten = turn.withLock { _ in
      var offset = 0
      while offset < bytes.count {
        let count = Array(bytes[offset...]).withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        offset += count
      }
      return true
    }
    if !isWritten { drops.increment() }
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
