import ArgumentParser
import ControlProtocol
import Foundation

struct Counters: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Packets and bytes by rule and by action.",
    discussion: """
      With --watch again and again, with rates; with --json one line of JSON each time.

      EXAMPLES
        sluice counters
        sluice counters eth0 --watch --interval 500ms
        sluice counters eth0 --json | jq '.[0].actions.drop.packets'
      """)

  @Argument(help: "The interface; all attached ones where it is left out.")
  var interface: String?
  @Flag(name: .shortAndLong, help: "Repeat until interrupted.")
  var watch = false
  @Option(help: "Time between two readings of --watch.")
  var interval = "1s"
  @Option(help: "End --watch after so many readings.")
  var count: Int?
  @OptionGroup var options: TargetOptions

  func run() async throws {
    let period = Duration.milliseconds(try Quantity.milliseconds(interval))
    let output = options.output
    try await options.run { api in
      try await show(output, period) {
        let query = interface.map { [("interface", $0)] } ?? []
        return try await api.list(APIClient.path("nodes", options.node, "counters"), query: query)
      }
    } daemon: { daemon in
      try await show(output, period) { try await daemon.counters(of: interface.map { [$0] } ?? []).map(\.json) }
    }
  }

  private func show(_ output: Output, _ period: Duration, _ read: () async throws -> [JSON]) async throws {
    var before: (counters: [JSON], at: ContinuousClock.Instant)?
    var next = ContinuousClock.now
    var readings = 0
    while true {
      let counters: [JSON]
      do { counters = try await read() } catch {
        // The API or the daemon restarts, or is busy: what is watched goes on.
        guard readings > 0, let reason = CommandError.passing(error) else { throw error }
        output.note("\(reason); trying again")
        next = max(next + period, .now)
        try await Task.sleep(until: next, clock: .continuous)
        continue
      }
      let now = ContinuousClock.now
      readings += 1
      if output.isJSON {
        Terminal.print(JSON.array(counters).text(pretty: !watch))
      } else {
        let seconds = before.map { $0.at.duration(to: now) / .seconds(1) }
        let text = Self.text(counters, before: before?.counters, seconds: seconds)
        Terminal.print(watch && isatty(1) == 1 ? "\u{1b}[H\u{1b}[2J\(text)" : text)
      }
      guard watch, readings < count ?? Int.max else { return }
      before = (counters, now)
      // From the plan, not from now, so that the readings don't drift.
      next = max(next + period, now)
      try await Task.sleep(until: next, clock: .continuous)
    }
  }

  /// `before` and the seconds since then give the rates.
  static func text(_ interfaces: [JSON], before: [JSON]?, seconds: Double?) -> String {
    guard !interfaces.isEmpty else { return "no interface is attached" }
    return interfaces.map { interface in
      let old = before?.first { $0["interface"] == interface["interface"] }
      var head = "\(interface["interface"].cell): "
      head += interface["rule_set"].string.map { "\($0) revision \(interface["revision"].cell)" } ?? "no rule set"
      head += ", generation \(interface["generation"].cell)"
      let actions = rows(interface["actions"].members, old?["actions"].members)
      let oldRules = Dictionary(
        old?["rules"].elements.map { ($0["rule"].cell, $0) } ?? [], uniquingKeysWith: { first, _ in first })
      let rules = interface["rules"].elements.map { rule in
        Row(name: rule["rule"].cell, action: rule["action"].cell, now: rule, before: oldRules[rule["rule"].cell])
      }
      let notable = { (name: String) in
        rows(interface[name].members, old?[name].members).filter { ($0.now["packets"].integer ?? 0) > 0 }
      }
      var sections = [table("RULE", rules, seconds), table("ACTION", actions, seconds)]
      let (events, malformed) = (notable("events"), notable("malformed"))
      if !events.isEmpty { sections.append(table("EVENT", events, seconds)) }
      if !malformed.isEmpty { sections.append(table("MALFORMED", malformed, seconds)) }
      return ([Terminal.safe(head)] + sections).joined(separator: "\n")
    }.joined(separator: "\n\n")
  }

  private struct Row {
    var name: String
    var action = ""
    var now: JSON
    var before: JSON?

    /// Per second; nothing where the counter began anew.
    func rate(_ field: String, _ seconds: Double?) -> String {
      guard let seconds, seconds > 0, let old = before?[field].integer, let new = now[field].integer, new >= old else {
        return ""
      }
      return Quantity.short(Double(new - old) * (field == "bytes" ? 8 : 1) / seconds)
    }
  }

  private static func rows(_ counters: [String: JSON], _ before: [String: JSON]?) -> [Row] {
    counters.sorted { $0.key < $1.key }.map { Row(name: $0.key, now: $0.value, before: before?[$0.key]) }
  }

  private static func table(_ title: String, _ rows: [Row], _ seconds: Double?) -> String {
    let rates = seconds == nil ? ("", "") : (">PACKETS/S", ">BITS/S")
    var table = Table(title, "", ">PACKETS", ">BYTES", rates.0, rates.1)
    for row in rows {
      table.add(
        row.name, row.action, row.now["packets"].cell, row.now["bytes"].cell, row.rate("packets", seconds),
        row.rate("bytes", seconds))
    }
    return table.text
  }
}
