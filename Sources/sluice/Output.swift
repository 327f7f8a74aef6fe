import Foundation
import LinuxSystem

/// Rows under a head, aligned by columns; numbers to the right.
struct Table {
  enum Alignment { case left, right }
  private let columns: [(title: String, alignment: Alignment)]
  private var rows: [[String]] = []

  /// Titles; one that begins with `>` is of a column of numbers.
  init(_ titles: String...) { self.init(titles) }

  init(_ titles: [String]) {
    columns = titles.map { $0.hasPrefix(">") ? (String($0.dropFirst()), .right) : ($0, .left) }
  }

  var isEmpty: Bool { rows.isEmpty }

  mutating func add(_ cells: String...) { add(cells) }

  mutating func add(_ cells: [String]) {
    precondition(cells.count == columns.count, "a row has as many cells as the table columns")
    rows.append(cells.map(Terminal.safe))
  }

  var text: String {
    let lines = [columns.map(\.title)] + rows
    let widths = columns.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { cells in
      let line = columns.indices.map { column -> String in
        let pad = String(repeating: " ", count: widths[column] - cells[column].count)
        return columns[column].alignment == .right ? pad + cells[column] : cells[column] + pad
      }.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }.joined(separator: "\n")
  }
}

enum Terminal {
  /// A report of this program's own, its names in snake case.
  static func printJSON(_ report: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    print(String(decoding: try encoder.encode(report), as: UTF8.self))
  }

  /// `text` without what a terminal would obey.
  static func safe(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isHostile) else { return text }
    return String(String.UnicodeScalarView(text.unicodeScalars.map { isHostile($0) ? "?" : $0 }))
  }

  /// The same of a text whose line breaks are its own.
  static func safeLines(_ text: String) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).map { safe(String($0)) }.joined(separator: "\n")
  }

  private static func isHostile(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value) || (0x2028...0x202e).contains(scalar.value)
      || (0x2066...0x2069).contains(scalar.value)
  }

  static func print(_ text: String) { write(Array((text + "\n").utf8)) }

  /// Bytes to standard output. Where nobody reads any more, the command ends as others do that a closed pipe ends: by SIGPIPE,
  /// which libraries of this one ignore. Where they can't be written, a full disk say, it ends with an error.
  static func write(_ bytes: [UInt8]) {
    do throws(SystemError) {
      try StandardOutput.write(bytes)
    } catch {
      if error.code == EPIPE {
        signal(SIGPIPE, SIG_DFL)
        raise(SIGPIPE)
      }
      printError("error: \(error)")
      exit(ExitStatus.failure.rawValue)
    }
  }

  static func printError(_ text: String) { writeError(text + "\n") }

  /// To standard error; nobody is told where that fails.
  static func writeError(_ text: String) { try? FileHandle.standardError.write(contentsOf: Data(text.utf8)) }
}

/// What a command prints: a value for `--json`, or a text for people.
struct Output {
  let isJSON: Bool

  func write(_ value: JSON, _ text: @autoclosure () -> String) {
    let line = isJSON ? value.text() : text()
    if !line.isEmpty { Terminal.print(line) }
  }

  /// To standard error, for people only.
  func note(_ text: String) {
    if !isJSON { Terminal.printError(Terminal.safeLines(text)) }
  }
}

/// Numbers for people.
enum Quantity {
  /// `1.5k`, `12.3M`: three digits and a unit.
  static func short(_ value: Double) -> String {
    let units = ["", "k", "M", "G", "T", "P"]
    var (value, unit) = (value, 0)
    while value >= 999.5, unit < units.count - 1 { (value, unit) = (value / 1000, unit + 1) }
    let digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2
    return String(format: "%.\(digits)f", value) + units[unit]
  }

  /// `500ms`, `30s`, `5m`, `1h`, or seconds without a unit.
  static func milliseconds(_ text: String) throws(CommandError) -> Int64 {
    let units: [(String, Double)] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("", 1000)]
    guard let (unit, factor) = units.first(where: { text.hasSuffix($0.0) }),
      let number = Double(text.dropLast(unit.count)), number.isFinite, number > 0, number * factor >= 1,
      number * factor <= 31 * 86_400_000
    else { throw .usage("\"\(text)\" is no time: write 500ms, 30s, 5m or 1h, at most 31 days") }
    return Int64(number * factor)
  }
}
