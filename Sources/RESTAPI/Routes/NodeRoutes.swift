import ControlProtocol
import Hummingbird
import Storage

/// Nodes, and what their daemons report.
enum NodeRoutes {
  private static let base = RouteTable.base + "/nodes"
  static let daemonErrors: [ErrorCode] = [.nodeUnavailable, .nodeRefused]

  static let all: [Route] = [
    Route(
      .get, base, "listNodes", tag: "nodes", "All nodes, by name.", access: .scope(.nodesRead), on: .anything, answer: .page(node, by: .nodes)
    ) { call, services in
      let page = call.page
      let ids = try call.visible(.node, with: .nodesRead)
      return .page(try await services.store.nodes(among: ids, page), page, json)
    },
    Route(
      .post, base, "createNode", tag: "nodes", "Register a node.", access: .scope(.nodesWrite), body: newNode,
      answer: .created(node), errors: [.conflict]
    ) { call, services in
      let node = try await services.store.createNode(
        NewNode(
          name: try call.body.text("name"), address: try call.body.text("address"),
          description: try call.body.text("description")))
      return Reply.created(json(node), at: "\(base)/\(node.name)").tagged(content(node))
    },
    Route(
      .get, base + "/{name}", "getNode", tag: "nodes", "One node.", access: .scope(.nodesRead), on: .node("name"), answer: .data(node)
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      return Reply.data(json(node)).tagged(content(node))
    },
    Route(
      .patch, base + "/{name}", "updateNode", tag: "nodes",
      "Change a node; its address only with the scope for all nodes.", access: .scope(.nodesWrite), on: .node("name"),
      body: newNode.partial(named: "NodePatch"), answer: .data(node), errors: [.conflict, .preconditionFailed]
    ) { call, services in
      let name = try call.parameter("name")
      let before = try await services.store.node(named: name)
      // Another address may be another node's daemon, and with it all that is there.
      if let address = call.body["address"]?.string, address != before.address,
        try !call.caller().permissions.grants(.nodesWrite)
      {
        throw APIError(
          .missingScope, "another address needs the scope nodes:write for all nodes",
          details: ["required": "nodes:write"])
      }
      let node = try await services.store.updateNode(
        named: name,
        NodeChange(
          name: call.body["name"]?.string, address: call.body["address"]?.string,
          description: call.body["description"]?.string), if: try call.precondition(content))
      if before.address != node.address { services.nodes.forget(before.address) }
      return Reply.data(json(node)).tagged(content(node))
    },
    Route(
      .delete, base + "/{name}", "deleteNode", tag: "nodes", "Remove a node; not while it has attachments.",
      access: .scope(.nodesWrite), on: .node("name"), answer: .data(.object([.required("deleted", .boolean)])),
      errors: [.conflict, .preconditionFailed]
    ) { call, services in
      let name = try call.parameter("name")
      let node = try await services.store.node(named: name)
      try await services.store.deleteNode(named: name, if: try call.precondition(content))
      services.nodes.forget(node.address)
      return .data(["deleted": true])
    },
    Route(
      .get, base + "/{name}/status", "nodeStatus", tag: "nodes", "What the node's daemon is and what runs in it.",
      access: .scope(.nodesRead), on: .node("name"), answer: .data(Sluice_Control_V1_GetStatusResponse.schema), errors: daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      return .data(try await services.nodes.status(node).json)
    },
    Route(
      .get, base + "/{name}/interfaces", "listInterfaces", tag: "nodes",
      "The node's network interfaces as its daemon sees them.", access: .scope(.interfacesRead), on: .node("name"),
      answer: .page(Sluice_Control_V1_Interface.schema, by: interfaceOrder), errors: daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      return try call.page(of: try await services.nodes.interfaces(node).map(\.json), by: interfaceOrder)
    },
    Route(
      .get, base + "/{name}/counters", "counters", tag: "nodes", "Counters of the node's attached interfaces.",
      access: .scope(.countersRead), on: .interfacesOfNode("name"), query: [.optional("interface", Shapes.interface)],
      answer: .page(Sluice_Control_V1_InterfaceCounters.schema, by: counterOrder), errors: daemonErrors
    ) { call, services in
      let node = try await services.store.node(named: try call.parameter("name"))
      let counters = try await services.nodes.counters(node, interface: call.query["interface"]?.string)
      let visible = try await AttachmentRoutes.visibleInterfaces(of: node, call, services)
      return try call.page(
        of: counters.filter { visible?.contains($0.interface) ?? true }.map(\.json), by: counterOrder)
    },
  ]

  private static let interfaceOrder = ListOrder("index", key: .integer("index"), fields: [.text("name"), .integer("index")])
  private static let counterOrder = ListOrder("interface", key: .text("interface"), fields: [.text("interface")])

  private static let address = StringShape(bytes: 7...112, pattern: "^unix:/.+$") { text in
    do throws(ControlError) { _ = try ControlAddress(parsing: text) } catch { return error.message }
    return text.hasPrefix("unix:") ? nil : "must be of the form unix:/run/sluice/sluiced.sock"
  }

  private static let newNode = Schema.named(
    "NewNode",
    .object([
      .required("name", Shapes.name), .required("address", .string(address), "unix:/run/sluice/sluiced.sock"),
      .optional("description", .text(max: 512), default: ""),
    ]))

  private static let node = Schema.named(
    "Node",
    .object([
      .required("id", Shapes.uuid), .required("name", .string()), .required("address", .string()),
      .required("description", .string()), .required("created_at", .timestamp), .required("updated_at", .timestamp),
    ]))

  /// What can be edited, for the entity tag.
  @Sendable private static func content(_ node: Node) -> JSONValue {
    ["name": .string(node.name), "address": .string(node.address), "description": .string(node.description)]
  }

  private static func json(_ node: Node) -> JSONValue {
    [
      "id": .string(node.id.uuidString.lowercased()), "name": .string(node.name), "address": .string(node.address),
      "description": .string(node.description), "created_at": .time(node.createdAt),
      "updated_at": .time(node.updatedAt),
    ]
  }
}
