public import JSONValues

/// What the protocol's messages are as JSON.
public typealias JSONValue = JSONValues.JSONValue
public typealias JSONSyntaxError = JSONValues.JSONSyntaxError
public typealias RFC3339 = JSONValues.RFC3339
