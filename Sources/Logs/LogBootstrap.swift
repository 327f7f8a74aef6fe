public import Logging

/// How a program logs.
public struct LogOptions: Hashable, Sendable {
  public enum Output: String, Sendable, CaseIterable {
    /// The journal where standard error is its stream, else the console for people.
    case automatic = "auto"
    case console, json, journal
  }

  /// As in SYSLOG_IDENTIFIER: `sluiced`.
  public var program: String
  public var level: Logger.Level
  public var output: Output
  /// Also to this syslog server, `host:port`; nil: none.
  public var syslog: String?

  public init(program: String, level: Logger.Level = .notice, output: Output = .automatic, syslog: String? = nil) {
    self.program = program
    self.level = level
    self.output = output
    self.syslog = syslog
  }

  /// The level of the settings, or that of `-v` given so many times where it says more: once info, twice debug, then trace.
  public static func level(_ setting: Logger.Level, verbosity: Int) -> Logger.Level {
    switch verbosity {
    case ...0: setting
    case 1: min(setting, .info)
    case 2: min(setting, .debug)
    default: .trace
    }
  }
}

/// Where a program's records go; makes its loggers. Any thread.
public struct LogBootstrap: Sendable {
  public let destinations: [any LogDestination]
  public let level: Logger.Level

  /// Opens the destinations that `options` name. `journalStream` is the environment's JOURNAL_STREAM.
  public init(_ options: LogOptions, journalStream: String?) throws(LogError) {
    var destinations: [any LogDestination] = []
    switch options.output {
    case .journal:
      destinations.append(try JournalDestination(program: options.program))
    case .automatic where JournalDestination.isStandardError(journalStream):
      do throws(LogError) {
        destinations.append(try JournalDestination(program: options.program))
      } catch {
        // Without its socket the journal still reads the stream.
        destinations.append(ConsoleDestination(format: .human))
      }
    case .automatic, .console:
      destinations.append(ConsoleDestination(format: .human))
    case .json:
      destinations.append(ConsoleDestination(format: .json))
    }
    if let syslog = options.syslog {
      destinations.append(try SyslogDestination(program: options.program, address: syslog))
    }
    self.init(destinations: destinations, level: options.level)
  }

  public init(destinations: [any LogDestination], level: Logger.Level) {
    self.destinations = destinations
    self.level = level
  }

  public func handler(label: String) -> any LogHandler { RecordHandler(self, label: label) }

  public func logger(_ label: String) -> Logger { Logger(label: label) { handler(label: $0) } }

  /// Makes this the back end of every logger of the process. Once in a process.
  ///
  /// - Parameter provider: fields of every record, such as those of the request that is being answered.
  public func install(fields provider: Logger.MetadataProvider? = nil) {
    LoggingSystem.bootstrap(
      { label, provider in
        var handler = handler(label: label)
        handler.metadataProvider = provider
        return handler
      }, metadataProvider: provider)
  }

  /// Records lost by destination, for metrics.
  public var droppedCounts: [(destination: String, count: UInt64)] {
    destinations.map { ($0.name, $0.droppedCount) }
  }
}

/// The handler of one logger: makes records and gives them to the destinations.
struct RecordHandler: LogHandler {
  var logLevel: Logger.Level
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?
  private let label: String
  private let destinations: [any LogDestination]

  init(_ bootstrap: LogBootstrap, label: String) {
    self.label = label
    logLevel = bootstrap.level
    destinations = bootstrap.destinations
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    // What is nearer to the call wins.
    var all = metadata
    if let provided = metadataProvider?.get() { all.merge(provided) { _, new in new } }
    if let own = event.metadata { all.merge(own) { _, new in new } }
    let record = LogRecord(event, label: label, metadata: all, time: .now())
    for destination in destinations { destination.write(record) }
  }
}
