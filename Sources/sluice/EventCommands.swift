import ArgumentParser
import ControlProtocol
import Foundation
import Synchronization

struct Events: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "What happened in the daemons, and to credentials: applied, refused, rules that ended, keys made, …",
    discussion: """
      The oldest first. With --follow they come as they happen, until interrupted; where the API goes away, it is asked again,
      and nothing is left out. --json prints one event in a line. Straight from the daemon (--socket): the last ones that it
      keeps, of its own. What happened to credentials is no node's: --all-nodes shows it to those who may read accounts and
      API clients, and to everybody of his own account.

      EXAMPLES
        sluice events
        sluice events --follow --type applied,refused,rolled_back,rule_expired
        sluice events --all-nodes --type account_credentials_changed,client_credentials_changed,client_key_expires
        sluice events --rule-set edge --limit 1000 --json | jq -r .message
        sluice events --follow --socket /run/sluice/sluiced.sock
      """)

  @Flag(name: .shortAndLong, help: "Go on with what happens.")
  var follow = false
  @Option(help: "Only events of these types; lists with commas.")
  var type: [String] = []
  @Option(help: "Only events at this interface.")
  var interface: String?
  @Option(help: "Only events about this rule set.")
  var ruleSet: String?
  @Option(help: "So many of the last ones.")
  var limit = 100
  @Flag(help: "Of all nodes, not of --node alone, and about credentials.")
  var allNodes = false
  @OptionGroup var options: TargetOptions

  func validate() throws {
    guard (0...10_000).contains(limit) else { throw ValidationError("--limit: 0 to 10000") }
  }

  private var types: [String] { type.commaSeparated }

  func run() async throws {
    let output = options.output
    try await options.run(silenceMax: nil) { api in
      var last = try await showLast(api, output)
      guard follow else { return }
      while true {
        last = try await showNext(api, after: last, output)
        try await Task.sleep(for: .seconds(1))
      }
    } daemon: { daemon in
      let kept = Kept()
      try await daemon.events(kinds: types, after: (0, 0), pastOnly: true) { event in
        if matches(event) { kept.add(event) }
      }
      for event in kept.events.suffix(limit) { Self.show(event.json, output) }
      guard follow else { return }
      while true {
        do {
          try await daemon.events(kinds: types, after: kept.place) { event in
            guard matches(event) else { return }
            kept.add(event)
            Self.show(event.json, output)
          }
          output.note("the daemon ends; trying again")
        } catch {
          guard let reason = CommandError.passing(error) else { throw error }
          output.note("\(reason); trying again")
        }
        try await Task.sleep(for: .seconds(1))
      }
    }
  }

  private func matches(_ event: Sluice_Control_V1_Event) -> Bool {
    (interface.map { event.interface == $0 } ?? true) && (ruleSet.map { event.fields["rule_set"] == $0 } ?? true)
  }

  private var query: [(String, String)] {
    var query: [(String, String)] = []
    if !types.isEmpty { query.append(("type", types.joined(separator: ","))) }
    if !allNodes { query.append(("node", options.node)) }
    if let interface { query.append(("interface", interface)) }
    if let ruleSet { query.append(("rule_set", ruleSet)) }
    return query
  }

  // MARK: The API

  /// Returns the id behind which those come that were not shown; nil: there is none at all.
  private func showLast(_ api: APIClient, _ output: Output) async throws -> Int64? {
    // Of all events, and before the list is asked for: what comes in between is in both, and has a greater number.
    let newest = try await api.list("/events", query: [], max: 1).first?["id"].integer
    let events = limit > 0 ? try await api.list("/events", query: query, max: limit) : []
    for event in events.reversed() { Self.show(event, output) }
    return events.first?["id"].integer ?? newest
  }

  /// One stream, until it ends; returns the last event's id. What only a person can mend is thrown.
  private func showNext(_ api: APIClient, after last: Int64?, _ output: Output) async throws -> Int64? {
    var last = last
    var reader = ServerSentEvents()
    let headers = [("Accept", "text/event-stream")] + (last.map { [("Last-Event-ID", "\($0)")] } ?? [])
    do {
      try await api.download(.get, "/events", query: query, headers: headers) { bytes in
        for data in reader.read(bytes) {
          guard let event = JSON.parse(data.utf8) else { continue }
          if let id = event["id"].integer {
            last = id
            Self.show(event, output)
          } else if let reason = event["reason"].string {
            // Of the stream itself: it has lost events, or ends.
            output.isJSON ? Terminal.print(event.text(pretty: false)) : output.note(reason)
          }
        }
      }
    } catch let error as CommandError where error.status == .unavailable {
      output.note("\(error.message); trying again")
    }
    return last
  }

  private static func show(_ event: JSON, _ output: Output) {
    guard !output.isJSON else { return Terminal.print(event.text(pretty: false)) }
    let place = [event["node"], event["interface"], event["rule_set"]].compactMap(\.string).filter { !$0.isEmpty }
    let message = (place.isEmpty ? [] : [place.joined(separator: " ")]) + [event["message"].cell]
    Terminal.print(
      Terminal.safe("\(event["at"].cell)  \(event["type"].cell)  \(message.joined(separator: ": "))"))
  }
}

/// The last events that a daemon told of.
private final class Kept: Sendable {
  private static let countMax = 10_000
  private let list = Mutex<[Sluice_Control_V1_Event]>([])

  var events: [Sluice_Control_V1_Event] { list.withLock { $0 } }
  /// Behind which the next ones come.
  var place: (epoch: UInt64, sequence: UInt64) { list.withLock { $0.last.map { ($0.epoch, $0.sequence) } ?? (0, 0) } }

  func add(_ event: Sluice_Control_V1_Event) {
    list.withLock {
      if $0.count >= Kept.countMax { $0.removeFirst(Kept.countMax / 2) }
      $0.append(event)
    }
  }
}

/// Puts the data of server-sent events together from the bytes of an answer.
struct ServerSentEvents {
  /// Of one line; what is longer is no event of the API's.
  private static let lineMax = 1 << 20
  private var line: [UInt8] = []
  private var data: [String] = []

  /// The data of the events that are complete with these bytes.
  mutating func read(_ bytes: some Sequence<UInt8>) -> [String] {
    var complete: [String] = []
    for byte in bytes {
      guard byte == 0x0a else {
        if line.count < Self.lineMax { line.append(byte) }
        continue
      }
      if line.last == 0x0d { line.removeLast() }
      let text = String(decoding: line, as: UTF8.self)
      line.removeAll(keepingCapacity: true)
      if text.isEmpty {
        if !data.isEmpty { complete.append(data.joined(separator: "\n")) }
        data = []
      } else if text.hasPrefix("data:") {
        data.append(String(text.dropFirst(5).trimmingPrefix(" ")))
      }
    }
    return complete
  }
}
