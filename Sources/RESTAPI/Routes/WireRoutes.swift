import ControlProtocol
import Hummingbird
import Storage

/// Wires, kept by the daemon of their node.
enum WireRoutes {
  private static let base = RouteTable.base + "/nodes/{name}/wires"

  private static let order = ListOrder("name", key: .text("name"), fields: [.text("name")])

  static let all: [Route] = [
    Route(
      .get, base, "listWires", tag: "wires", "The node's wires, by name.", access: .scope(.attachmentsRead), on: .node("name"),
      answer: .page(WireShapes.wire, by: order), errors: NodeRoutes.daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      return try call.page(of: try await services.nodes.wires(node).map(\.json), by: order)
    },
    Route(
      .post, base, "createWire", tag: "wires",
      "Join two attached interfaces: what the rules of one pass leaves by the other. Again with the same options: what is "
        + "there.",
      access: .scope(.attachmentsWrite), on: .node("name"), body: WireShapes.newWire, answer: .created(WireShapes.wire),
      errors: NodeRoutes.daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      let wire = try await services.nodes.createWire(node, Sluice_Control_V1_WireOptions(json: call.body))
      return .created(
        wire.json, at: "\(RouteTable.base)/nodes/\(node.name)/wires/\(wire.options.name)", warnings: wire.warnings)
    },
    Route(
      .get, base + "/{wire}", "getWire", tag: "wires", "One wire.", access: .scope(.attachmentsRead), on: .node("name"),
      answer: .data(WireShapes.wire), errors: NodeRoutes.daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      let name = try call.parameter("wire")
      guard let wire = try await services.nodes.wires(node).first(where: { $0.options.name == name }) else {
        throw APIError.notFound("wire", name)
      }
      return .data(wire.json)
    },
    Route(
      .delete, base + "/{wire}", "deleteWire", tag: "wires",
      "Take a wire away: what the rules of its sides pass goes to the stack again.", access: .scope(.attachmentsWrite), on: .node("name"),
      answer: .data(.object([.required("deleted", .boolean)])), errors: NodeRoutes.daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      try await services.nodes.deleteWire(node, name: try call.parameter("wire"))
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{wire}/flows", "topFlows", tag: "wires",
      "The greatest flows of a wire that accounts for flows, as they are now.", access: .scope(.countersRead), on: .node("name"),
      query: [
        .optional("limit", .integer(1...1000), default: 20),
        .optional("order", .words(Sluice_Control_V1_FlowOrder.words), default: "bytes"),
      ], answer: .data(WireShapes.topFlows), errors: NodeRoutes.daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      let order = call.query["order"]?.string.flatMap(Sluice_Control_V1_FlowOrder.init(word:)) ?? .bytes
      let top = try await services.nodes.topFlows(
        node, wire: try call.parameter("wire"), limit: UInt32(clamping: call.query["limit"]?.integer ?? 20), order: order)
      return .data(top.json)
    },
  ]
}
