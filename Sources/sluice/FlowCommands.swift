import ArgumentParser
import ControlProtocol
import Foundation

enum FlowOrderWord: String, Word { case bytes, packets }

struct FlowsCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flows", abstract: "Flows of wires that account for them.", subcommands: [Top.self])

  struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "The greatest flows, as they are now.",
      discussion: """
        Rates are averages since a flow's first packet or its last report.

        EXAMPLES
          sluice flows top watched
          sluice flows top watched --by packets --limit 5
          sluice flows top watched --json | jq -r '.flows[0].source'
        """)
    @Argument(help: "The wire, created with --flows.")
    var wire: String
    @Option(help: "How many, at most 1000.")
    var limit: UInt32 = 20
    @Option(help: "What makes a flow great. (bytes, packets)")
    var by: FlowOrderWord = .bytes
    @OptionGroup var options: TargetOptions

    func validate() throws {
      if !(1...1000).contains(limit) { throw ValidationError("--limit is 1 to 1000") }
    }

    func run() async throws {
      let output = options.output
      try await options.run { api in
        let query = [("limit", "\(limit)"), ("order", by.rawValue)]
        let top = try await api.call(.get, APIClient.path("nodes", options.node, "wires", wire, "flows"), query: query)["data"]
        output.write(top, FlowsCommand.text(top))
      } daemon: { daemon in
        let top = try await daemon.topFlows(of: wire, limit: limit, by: .init(word: by.rawValue) ?? .bytes).json
        output.write(top, FlowsCommand.text(top))
      }
    }
  }

  static func text(_ top: JSON) -> String {
    var table = Table("SOURCE", "DESTINATION", "PROTOCOL", "IN BY", ">PACKETS", ">BYTES", ">PACKETS/S", ">BITS/S")
    for flow in top["flows"].elements {
      func end(_ side: String) -> String {
        let port = flow[side + "_port"].integer ?? 0
        let address = flow[side].cell
        return port == 0 ? address : address.contains(":") ? "[\(address)]:\(port)" : "\(address):\(port)"
      }
      let rates = ["packets_per_second", "bytes_per_second"].map { name -> Double in
        switch flow[name] as JSON {
        case .number(let value): value
        case .integer(let value): Double(value)
        default: 0
        }
      }
      let icmp = flow["icmp_type"].integer.map { " type \($0) code \(flow["icmp_code"].cell)" } ?? ""
      table.add(
        end("source"), end("destination"), flow["protocol"].cell + icmp, flow["interface"].cell, flow["packets"].cell,
        flow["bytes"].cell, Quantity.short(rates[0]), Quantity.short(rates[1] * 8))
    }
    var lines = [table.isEmpty ? "no flow is active" : table.text]
    lines.append("\(top["flow_count"].cell) flows at \(top["taken_at"].cell)")
    if top["complete"].bool == false { lines.append("incomplete: a packet thread did not answer in time") }
    return lines.joined(separator: "\n")
  }
}
