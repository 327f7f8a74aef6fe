/// What one scrape answers: families of metrics, gathered in any order and written in the order of their names.
///
/// A value that is kept from scrape to scrape so that its buffers are; one thread at a time uses it.
public struct Exposition: Sendable {
  /// `Content-Type` of ``text()``.
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"
  /// Series in one family; more are left out and counted.
  public static let seriesPerFamilyMax = 100_000

  private var families: [MetricFamily] = []
  private var indexByName: [String: Int] = [:]
  /// Series left out in this scrape: of a full family, or of a family that has another type already.
  public private(set) var droppedSeries: UInt64 = 0

  public init() {}

  /// Empties it, keeping its buffers.
  mutating func reset() {
    for index in families.indices { families[index].reset() }
    droppedSeries = 0
  }

  /// Adds samples to the family `name`, which is begun where there is none of that name. The first help text counts.
  ///
  /// The name is made valid; a counter's ends in `_total`. `help` says what is counted, in one line.
  public mutating func family(
    _ name: String, _ type: MetricType, help: String, _ addSamples: (inout MetricFamily) -> Void
  ) {
    let name = MetricName.metric(name, type)
    let index: Int
    if let known = indexByName[name] {
      index = known
    } else {
      index = families.count
      families.append(MetricFamily(name: name))
      indexByName[name] = index
    }
    guard families[index].begin(type, help: help) else {
      var misfit = MetricFamily(name: name)
      _ = misfit.begin(type, help: help)
      addSamples(&misfit)
      droppedSeries += misfit.seriesCount
      return
    }
    let before = families[index].droppedSeries
    addSamples(&families[index])
    droppedSeries += families[index].droppedSeries - before
  }

  /// The text, format 0.0.4.
  public func text() -> [UInt8] {
    let written = families.filter { $0.seriesCount > 0 }.sorted { $0.name < $1.name }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(written.reduce(0) { $0 + $1.bytes.count })
    for family in written { bytes += family.bytes }
    return bytes
  }
}

/// The samples of one metric: one per combination of label values. The caller gives each combination once.
public struct MetricFamily: Sendable {
  let name: String
  private var type: MetricType?
  private(set) var bytes: [UInt8] = []
  private(set) var seriesCount: UInt64 = 0
  private(set) var droppedSeries: UInt64 = 0

  init(name: String) { self.name = name }

  mutating func reset() {
    type = nil
    bytes.removeAll(keepingCapacity: true)
    seriesCount = 0
    droppedSeries = 0
  }

  /// Writes the head of the family, once. False if the family has another type.
  mutating func begin(_ type: MetricType, help: String) -> Bool {
    if let own = self.type { return own == type }
    self.type = type
    write("# HELP ")
    write(name)
    write(" ")
    writeEscaped(help, quotes: false)
    write("\n# TYPE ")
    write(name)
    write(" ")
    write(type.rawValue)
    write("\n")
    return true
  }

  // MARK: Samples

  public mutating func sample(_ value: UInt64) { sample([(String, String)](), value) }
  public mutating func sample(_ value: Double) { sample([(String, String)](), value) }
  public mutating func sample(_ labels: KeyValuePairs<String, String>, _ value: UInt64) {
    sample(labels.map { ($0.key, $0.value) }, value)
  }
  public mutating func sample(_ labels: KeyValuePairs<String, String>, _ value: Double) {
    sample(labels.map { ($0.key, $0.value) }, value)
  }
  @_disfavoredOverload
  public mutating func sample(_ labels: [(String, String)], _ value: UInt64) {
    if takesSeries() { line(suffix: "", labels, text: "\(value)") }
  }
  @_disfavoredOverload
  public mutating func sample(_ labels: [(String, String)], _ value: Double) {
    if takesSeries() { line(suffix: "", labels, text: Self.text(value)) }
  }

  /// A histogram's series. `counts` has one element more than `bounds`, each the number of observations above the
  /// bound before and not above its own; the last is beyond all bounds.
  public mutating func histogram(
    _ labels: [(String, String)], bounds: [Double], counts: [UInt64], sum: Double
  ) {
    precondition(counts.count == bounds.count + 1, "a histogram has one bucket more than bounds")
    guard takesSeries() else { return }
    var total: UInt64 = 0
    for (bound, count) in zip(bounds + [.infinity], counts) {
      total &+= count
      line(suffix: "_bucket", labels, bound: bound, text: "\(total)")
    }
    line(suffix: "_sum", labels, text: Self.text(sum))
    line(suffix: "_count", labels, text: "\(total)")
  }

  private mutating func takesSeries() -> Bool {
    guard seriesCount < Exposition.seriesPerFamilyMax else {
      droppedSeries += 1
      return false
    }
    seriesCount += 1
    return true
  }

  // MARK: Text

  private mutating func line(suffix: String, _ labels: [(String, String)], bound: Double? = nil, text: String) {
    write(name)
    write(suffix)
    var separator = "{"
    for (label, value) in labels {
      write(separator)
      write(MetricName.label(label))
      write("=\"")
      writeEscaped(value, quotes: true)
      write("\"")
      separator = ","
    }
    if let bound {
      write(separator)
      write("le=\"")
      write(Self.text(bound))
      write("\"")
      separator = ","
    }
    if separator == "," { write("}") }
    write(" ")
    write(text)
    write("\n")
  }

  private mutating func write(_ text: String) { bytes.append(contentsOf: text.utf8) }

  /// Backslash and line feed are escaped, and in label values the quote.
  private mutating func writeEscaped(_ text: String, quotes: Bool) {
    for byte in text.utf8 {
      switch byte {
      case 0x5c: write("\\\\")
      case 0x0a: write("\\n")
      case 0x22 where quotes: write("\\\"")
      default: bytes.append(byte)
      }
    }
  }

  static func text(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    // Whole numbers without ".0" as long as a double holds them exactly.
    if value.rounded() == value, value.magnitude < 0x1p53 { return "\(Int64(value))" }
    return "\(value)"
  }
}
