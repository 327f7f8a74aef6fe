import Logging
import Synchronization

/// Where records go. Any thread. Never waits for a peer: what can't be taken now is dropped and counted.
public protocol LogDestination: Sendable {
  /// For metrics: `console`, `journal`, `syslog`.
  var name: String { get }
  func write(_ record: LogRecord)
  /// Records lost since the start.
  var droppedCount: UInt64 { get }
}

/// A counter that destinations share the shape of.
final class DropCounter: Sendable {
  private let count = Atomic<UInt64>(0)
  var value: UInt64 { count.load(ordering: .relaxed) }
  func increment() { count.wrappingAdd(1, ordering: .relaxed) }
}

extension Logger.Level {
  /// The severity of syslog(3) and the journal: 2 critical to 7 debug.
  var severity: Int {
    switch self {
    case .trace, .debug: 7
    case .info: 6
    case .notice: 5
    case .warning: 4
    case .error: 3
    case .critical: 2
    }
  }
}

/// Text in which nothing can pretend to be another line, another field, or a command to the terminal.
enum SafeText {
  /// Whether a scalar could do that: C0, C1 and DEL, line and paragraph separators, and what reorders text.
  static func isHostile(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0..<0x20, 0x7f..<0xa0, 0x2028, 0x2029, 0x202a...0x202e, 0x2066...0x2069, 0xfeff: true
    default: false
    }
  }

  /// `text` with hostile scalars as `\n`, `\t`, `\u{1b}`, and a backslash as two.
  static func escaped(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: { isHostile($0) || $0 == "\\" }) else { return text }
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where isHostile(scalar): result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// A JSON string, with hostile scalars as `\u001b`.
  static func json(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case _ where isHostile(scalar):
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }
}
